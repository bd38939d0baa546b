// Arguments: folder of the results, folder of the project. Prints the messages of the scripts,
// and the objects of an image afterwards.
import qupath.lib.scripting.QP

QP.projectFolder = new File(args[1])
def image = { id, name, file, width ->
    [id: id, name: name, file: "/scans/${file}".toString(), width: width, height: 80,
     hierarchy: Draw.hierarchy()]
}
def matching = image('1', 'b01.svs', 'b01.svs', 100)
def renamed = image('2', 'patient 7', 'scan.svs', 100)
def wrongSize = image('3', 'b03', 'x.svs', 90)
def ambiguous = image('4', 'twin.svs', 'twin.svs', 100)
def otherSlide = image('5', 'other one.svs', 'other.svs', 100)
def failed = image('6', 'b06.svs', 'b06.svs', 100)
QP.entries = [matching, renamed, wrongSize, ambiguous, otherSlide, failed]

def run = { script, it ->
    QP.image = it
    def file = new File(args[0], "qupath/${script}")
    def binding = new Binding('qupath.script.file': file.path)
    new GroovyShell(this.class.classLoader, binding).evaluate(file)
}
def show = { it ->
    def lines = it.hierarchy.getAllObjects(false).collect {
        def roi = it.getROI()
        def type = it.isDetection() ? 'detection' : 'annotation'
        "${it.getID().version()} ${type} ${it.getPathClass()} ${roi.getCentroidX() as int}"
    }
    println "  ${lines.sort().join(', ')}"
}
def annotationAt = { it, x ->
    it.hierarchy.getAllObjects(false).find {
        it.isAnnotation() && (it.getROI().getCentroidX() as int) == x
    }
}

QP.entries.each { run('import_all.groovy', it) }
show(matching)
println '-- a second time'
run('import_all.groovy', matching)
show(matching)
println '-- after changes by a person'
// The first square is accepted: its glands (15, 25) stay, changed or not.
Draw.classify(annotationAt(matching, 20), 'Region*')
Draw.reshape(annotationAt(matching, 15), [11, 11, 21, 19])
// A gland of the second square is corrected.
Draw.reshape(annotationAt(matching, 75), [70, 10, 82, 20])
matching.hierarchy.addObjects([Draw.annotation('Gland', [50, 60, 60, 70])])
run('import_all.groovy', matching)
show(matching)
println '-- after changes of detections'
def detectionAt = { it, x ->
    it.hierarchy.getAllObjects(false).find {
        it.isDetection() && (it.getROI().getCentroidX() as int) == x
    }
}
Draw.classify(detectionAt(matching, 15), 'Other')
Draw.reshape(detectionAt(matching, 75), [70, 10, 82, 20])
run('import_all.groovy', matching)
show(matching)
println '-- pasted'
QP.image = matching
def pastedText = new File(args[0], 'qupath/import_all.groovy').text
new GroovyShell(this.class.classLoader).evaluate(pastedText)
println '-- export'
ambiguous.hierarchy.addObjects([Draw.annotation('Gland', [50, 60, 60, 70])])
otherSlide.hierarchy.addObjects([Draw.annotation('Region*', [50, 60, 60, 70])])
QP.entries.each { run('export_annotations.groovy', it) }
println '-- export with an error'
def exported = new File(QP.projectFolder, 'annotations/b01.geojson')
def before = exported.text
matching.hierarchy.addObjects([Draw.annotation('Gland', null)])
try {
    run('export_annotations.groovy', matching)
} catch (NullPointerException error) {
    println "  failed, the older export is ${exported.text == before ? 'as before' : 'lost'}"
}
println "  ${exported.getParentFile().list().sort().join(', ')}"
println '-- export after all annotations were deleted'
def drawn = matching.hierarchy.getAnnotationObjects()
matching.hierarchy.removeObjects(drawn, true)
run('export_annotations.groovy', matching)
matching.hierarchy.addObjects(drawn)
println '-- export of two images of one slide'
QP.entries << image('7', 'B01', 'b01.svs', 100)
run('export_annotations.groovy', matching)
run('export_annotations.groovy', QP.entries.last())  // has no annotations
