// Annotations of all images of a project, one GeoJSON each, for column 'annotation' of the sheet: Run > Run for project.
import qupath.lib.io.PathIO
import static qupath.lib.scripting.QP.*

@FIND_SLIDE@
def annotations = getAnnotationObjects()
if (!annotations) {
    println "${image}: skipped, it has no annotations"
    return
}
def entry = getProjectEntry()
// An image that is no slide of the run yet is named by itself, and by its number in the project: names may repeat.
def name = found ? found[0].id : "${stem(image).replaceAll('[^A-Za-z0-9_.-]', '_')}-${entry.getID()}"
def twins = found ? getProject().getImageList().findAll { fitting([it.getImageName()]).contains(found[0]) } : []
if (twins.size() > 1) {
    println "${image}: NOT DONE, ${twins.size()} images of the project are slide ${name}; rename those that are not"
    return
}
def folder = new File(buildFilePath(PROJECT_BASE_DIR, 'annotations'))
folder.mkdirs()
def file = new File(folder, "${name}.geojson")
PathIO.exportObjectsAsGeoJSON(file, annotations, PathIO.GeoJsonExportOptions.FEATURE_COLLECTION)
def counts = annotations.countBy { "${it.getPathClass() ?: 'without class'}".toString() }
println "${image}: ${annotations.size()} annotations in ${file} (${counts.collect { "${it.value} ${it.key}" }.join(', ')})"
