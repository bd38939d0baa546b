// Exports the annotations of all images of a project, one GeoJSON file for each image,
// for column 'annotation' of the sheet. To start it: Run > Run for project.
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import qupath.lib.io.PathIO
import static qupath.lib.scripting.QP.*

@FIND_SLIDE@
def entry = getProjectEntry()
// An image that is no slide of the run is called by its own name and its number in the project,
// because names may occur twice.
def ownName = withoutSuffix(image).replaceAll('[^A-Za-z0-9_.-]', '_')
def name = candidates ? candidates[0].id : "${ownName}-${entry.getID()}"
def folder = new File(buildFilePath(PROJECT_BASE_DIR, 'annotations'))
def file = new File(folder, "${name}.geojson")
def imagesOfSlide = !candidates ? [] : getProject().getImageList().findAll {
    slidesNamed([it.getImageName()]).contains(candidates[0])
}
if (imagesOfSlide.size() > 1) {
    println "${image}: NOT DONE, ${imagesOfSlide.size()} images of the project are slide " +
        "${name}; rename those that are not"
    return
}
def annotations = getAnnotationObjects()
if (!annotations) {
    println "${image}: skipped, it has no annotations"
    if (file.exists()) {
        println "${image}: ${file} is an older export; delete it if this slide should have no " +
            "outlines"
    }
    return
}
folder.mkdirs()
// The older export stays until the new one is complete.
def partial = new File(folder, ".${name}.partial.geojson")
try {
    PathIO.exportObjectsAsGeoJSON(
        partial, annotations, PathIO.GeoJsonExportOptions.FEATURE_COLLECTION
    )
    Files.move(
        partial.toPath(), file.toPath(),
        StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE
    )
} finally {
    Files.deleteIfExists(partial.toPath())
}
def counts = annotations.countBy { "${it.getPathClass() ?: 'without class'}".toString() }
def countsText = counts.collect { "${it.value} ${it.key}" }.join(', ')
println "${image}: ${annotations.size()} annotations in ${file} (${countsText})"
